from facecls.api.data import FaceCounts as FaceCounts
from facecls.api.data import SuggestedConfig as SuggestedConfig
from facecls.api.data import check_config as check_config
from facecls.api.data import prepare_faces as prepare_faces
from facecls.api.data import suggest_config as suggest_config
from facecls.api.data import write_faces as write_faces
from facecls.api.evaluation import Comparison as Comparison
from facecls.api.evaluation import Evaluation as Evaluation
from facecls.api.evaluation import Page as Page
from facecls.api.evaluation import compare as compare
from facecls.api.evaluation import evaluate as evaluate
from facecls.api.evaluation import write_report as write_report
from facecls.api.inference import Classifier as Classifier
from facecls.api.inference import Prediction as Prediction
from facecls.api.inference import load as load
from facecls.api.runs import runs as runs
from facecls.api.training import CrossValidation as CrossValidation
from facecls.api.training import TrainedRun as TrainedRun
from facecls.api.training import cross_validate as cross_validate
from facecls.api.training import train as train

__version__: str
