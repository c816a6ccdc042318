"""Learning rates that change during training: PyTorch's torch.optim.lr_scheduler."""

from ._schedule_base import LRScheduler as LRScheduler
from ._schedules import ConstantLR as ConstantLR
from ._schedules import CosineAnnealingLR as CosineAnnealingLR
from ._schedules import CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts
from ._schedules import ExponentialLR as ExponentialLR
from ._schedules import LambdaLR as LambdaLR
from ._schedules import LinearLR as LinearLR
from ._schedules import MultiplicativeLR as MultiplicativeLR
from ._schedules import MultiStepLR as MultiStepLR
from ._schedules import PolynomialLR as PolynomialLR
from ._schedules import StepLR as StepLR
from ._schedules_combined import ChainedScheduler as ChainedScheduler
from ._schedules_combined import ReduceLROnPlateau as ReduceLROnPlateau
from ._schedules_combined import SequentialLR as SequentialLR
from ._schedules_cyclic import CyclicLR as CyclicLR
from ._schedules_cyclic import OneCycleLR as OneCycleLR

_LRScheduler = LRScheduler
