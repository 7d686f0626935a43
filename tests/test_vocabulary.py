"""Private words of earlier versions that have no other sense; the field's term is in the comment."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent

WORDS = (
    "onlookers?",  # rank above 0
    "judg(e)?ments?|judging",  # calibration and rejection threshold
    "nearness",  # open-set score
    "likeness",  # similarity after registration
    "lookcache|look_at_all",  # image statistics and their cache
    "stamps_of|read_stamps",  # file fingerprints
    "rehears(e|es|ed|al)",  # dry run
    "setbacks?",  # rollback
    "faces of nobody|composites?",  # synthetic impostors
    "turned away|let in",  # rejected, accepted
    "labels_are_handed|handed labels",  # flip_changes_class
    "loose_part|onto_classes|find_parts|load_part",  # load_unlabelled, map_to_classes, index_dataset, load_split
    "add_up|copy_from_first",  # all_reduce_sum, broadcast_buffers
    "pictures?",  # image
    "strangers'|a stranger|stranger_\\w+",  # unknown people, impostors
    "waited_share",  # data wait
    "team_faces|of (its|the|a) team",  # process group
    "pick_store|measure_room|\\broom for\\b",  # choose_store, available memory
    "grave",  # severity
    "one of ours|the known\\b(?! (classes|images|people))",  # known classes
    "Python's lock|written beside",  # the GIL, atomic write
    "a second look",  # verification
    "named right",  # correctly classified
    "said at once|told at once",  # reported together
)
_SELF = Path(__file__).name


def test_no_private_word_is_left() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    pattern = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
    found = []
    for name in listed:
        path = ROOT / name
        if (
            path.suffix in (".py", ".md", ".yaml", ".j2", ".toml", ".json", "")
            and path.name not in (_SELF, "LICENSE")
            and path.exists()
        ):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                found += [f"{name}:{number}: {match[0]}" for match in pattern.finditer(line)]
    assert found == []
