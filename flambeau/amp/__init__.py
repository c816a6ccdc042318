"""Mixed precision: operators that gain from 16-bit floats run in them, the others in float32."""

from flambeau.amp._autocast import autocast, is_autocast_available
from flambeau.amp._custom import custom_bwd, custom_fwd
from flambeau.amp._grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
