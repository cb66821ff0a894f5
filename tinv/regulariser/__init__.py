"""What is added to the loss of the pictures, to keep a word from losing touch with others: conf/regulariser."""

from tinv.regulariser.distance import DistanceRegulariser
from tinv.regulariser.nothing import NOTHING, Nothing
from tinv.regulariser.protocol import Regulariser
from tinv.training.regularizers import ContextRegulariser

__all__ = ["NOTHING", "ContextRegulariser", "DistanceRegulariser", "Nothing", "Regulariser"]
