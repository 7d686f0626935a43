import numpy as np

from facecls.data.listing import ImageList, Paths
from facecls.data.load import LoadedSplit
from facecls.data.stores.memory import ArrayStore
from facecls.evaluation.evaluate import Evaluation
from facecls.evaluation.result import closed_set_result, open_set_result
from facecls.open_set.calibration import UNCALIBRATED
from facecls.open_set.outputs import Outputs
from facecls.report.examples import EXAMPLES, ExampleImages, select_examples


def test_the_most_confident_mistakes_and_the_least_confident_correct_predictions_come_first() -> None:
    count = 2 * EXAMPLES
    first = np.random.default_rng(0).permutation(np.linspace(0.55, 0.95, 2 * count))  # probability of the first class
    calibrated = np.stack([first, 1 - first], axis=1)
    labels = np.arange(2 * count) % 2  # every other image is a mistake
    outputs = Outputs(np.log(calibrated).astype(np.float32), np.zeros((2 * count, 0), np.float32))
    paths = Paths.of("faces", [f"{number}.jpg" for number in range(2 * count)])
    evaluation = Evaluation(
        closed_set=closed_set_result(outputs.logits, calibrated, labels, ("ann", "ben")),
        open_set=open_set_result(UNCALIBRATED, outputs, labels, None),
        subgroups=None,
        split=LoadedSplit(
            "val", ImageList(paths, labels.astype(np.int32)), ArrayStore(np.zeros((2 * count, 4, 4, 3), np.uint8))
        ),
        outputs=outputs,
        impostors=None,
        skipped=(),
        seconds=1.0,
    )
    examples = select_examples(ExampleImages(evaluation, calibrated, None))
    assert [each.probability for each in examples.mistakes] == sorted(first[1::2], reverse=True)[:EXAMPLES]
    assert [each.probability for each in examples.correct] == sorted(first[::2])[:EXAMPLES]
    assert {(each.true, each.predicted) for each in examples.mistakes} == {("ben", "ann")}
