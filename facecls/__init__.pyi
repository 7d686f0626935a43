from facecls.api import Classifier as Classifier
from facecls.api import Prediction as Prediction
from facecls.api import TrainedRun as TrainedRun
from facecls.api import evaluate as evaluate
from facecls.api import load as load
from facecls.api import train as train

__version__: str
