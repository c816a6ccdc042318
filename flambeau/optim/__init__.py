"""Optimizers and learning-rate schedules: PyTorch's torch.optim."""

from . import lr_scheduler as lr_scheduler
from ._adam import Adam as Adam
from ._adam import Adamax as Adamax
from ._adam import AdamW as AdamW
from ._adam import NAdam as NAdam
from ._adam import RAdam as RAdam
from ._adaptive import Adadelta as Adadelta
from ._adaptive import Adagrad as Adagrad
from ._adaptive import RMSprop as RMSprop
from ._adaptive import Rprop as Rprop
from ._lbfgs import LBFGS as LBFGS
from ._sgd import ASGD as ASGD
from ._sgd import SGD as SGD
from .optimizer import Optimizer as Optimizer
