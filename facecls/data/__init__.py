"""From a folder of pictures to batches of faces."""

from facecls.pair import require_torchvision

require_torchvision()  # before a module here needs it, so that a pair that does not fit is said in plain words
