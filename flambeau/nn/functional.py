"""The functions behind the layers: `import flambeau.nn.functional as F`."""

from flambeau import _core
from flambeau import elu_ as elu_
from flambeau import gelu as gelu
from flambeau import hardshrink as hardshrink
from flambeau import hardtanh_ as hardtanh_
from flambeau import leaky_relu_ as leaky_relu_
from flambeau import logsigmoid as logsigmoid
from flambeau import relu_ as relu_
from flambeau import selu_ as selu_
from flambeau import sigmoid as sigmoid
from flambeau import softplus as softplus
from flambeau import softshrink as softshrink
from flambeau import softsign as softsign
from flambeau import tanh as tanh
from flambeau import tanhshrink as tanhshrink
from flambeau import threshold_ as threshold_

from ._functional_activation import alpha_dropout as alpha_dropout
from ._functional_activation import celu as celu
from ._functional_activation import dropout as dropout
from ._functional_activation import dropout1d as dropout1d
from ._functional_activation import dropout2d as dropout2d
from ._functional_activation import dropout3d as dropout3d
from ._functional_activation import elu as elu
from ._functional_activation import feature_alpha_dropout as feature_alpha_dropout
from ._functional_activation import glu as glu
from ._functional_activation import gumbel_softmax as gumbel_softmax
from ._functional_activation import hardsigmoid as hardsigmoid
from ._functional_activation import hardswish as hardswish
from ._functional_activation import hardtanh as hardtanh
from ._functional_activation import leaky_relu as leaky_relu
from ._functional_activation import log_softmax as log_softmax
from ._functional_activation import mish as mish
from ._functional_activation import prelu as prelu
from ._functional_activation import relu as relu
from ._functional_activation import relu6 as relu6
from ._functional_activation import rrelu as rrelu
from ._functional_activation import selu as selu
from ._functional_activation import silu as silu
from ._functional_activation import softmax as softmax
from ._functional_activation import softmin as softmin
from ._functional_activation import threshold as threshold
from ._functional_attention import multi_head_attention_forward as multi_head_attention_forward
from ._functional_attention import scaled_dot_product_attention as scaled_dot_product_attention
from ._functional_classification import cosine_embedding_loss as cosine_embedding_loss
from ._functional_classification import cross_entropy as cross_entropy
from ._functional_classification import hinge_embedding_loss as hinge_embedding_loss
from ._functional_classification import margin_ranking_loss as margin_ranking_loss
from ._functional_classification import multi_margin_loss as multi_margin_loss
from ._functional_classification import multilabel_margin_loss as multilabel_margin_loss
from ._functional_classification import multilabel_soft_margin_loss as multilabel_soft_margin_loss
from ._functional_classification import nll_loss as nll_loss
from ._functional_classification import triplet_margin_loss as triplet_margin_loss
from ._functional_classification import (
    triplet_margin_with_distance_loss as triplet_margin_with_distance_loss,
)
from ._functional_linear import bilinear as bilinear
from ._functional_linear import cosine_similarity as cosine_similarity
from ._functional_linear import embedding as embedding
from ._functional_linear import embedding_bag as embedding_bag
from ._functional_linear import normalize as normalize
from ._functional_linear import pairwise_distance as pairwise_distance
from ._functional_loss import binary_cross_entropy as binary_cross_entropy
from ._functional_loss import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from ._functional_loss import gaussian_nll_loss as gaussian_nll_loss
from ._functional_loss import huber_loss as huber_loss
from ._functional_loss import kl_div as kl_div
from ._functional_loss import l1_loss as l1_loss
from ._functional_loss import mse_loss as mse_loss
from ._functional_loss import poisson_nll_loss as poisson_nll_loss
from ._functional_loss import smooth_l1_loss as smooth_l1_loss
from ._functional_loss import soft_margin_loss as soft_margin_loss
from ._functional_norm import batch_norm as batch_norm
from ._functional_norm import group_norm as group_norm
from ._functional_norm import instance_norm as instance_norm
from ._functional_norm import layer_norm as layer_norm
from ._functional_norm import local_response_norm as local_response_norm
from ._functional_norm import rms_norm as rms_norm
from ._functional_pool import adaptive_avg_pool1d as adaptive_avg_pool1d
from ._functional_pool import adaptive_avg_pool2d as adaptive_avg_pool2d
from ._functional_pool import adaptive_avg_pool3d as adaptive_avg_pool3d
from ._functional_pool import adaptive_max_pool1d as adaptive_max_pool1d
from ._functional_pool import adaptive_max_pool2d as adaptive_max_pool2d
from ._functional_pool import adaptive_max_pool3d as adaptive_max_pool3d
from ._functional_pool import lp_pool1d as lp_pool1d
from ._functional_pool import lp_pool2d as lp_pool2d
from ._functional_pool import lp_pool3d as lp_pool3d
from ._functional_pool import max_unpool1d as max_unpool1d
from ._functional_pool import max_unpool2d as max_unpool2d
from ._functional_pool import max_unpool3d as max_unpool3d
from ._functional_vision import channel_shuffle as channel_shuffle
from ._functional_vision import fold as fold
from ._functional_vision import interpolate as interpolate
from ._functional_vision import pad as pad
from ._functional_vision import pixel_shuffle as pixel_shuffle
from ._functional_vision import pixel_unshuffle as pixel_unshuffle
from ._functional_vision import unfold as unfold

upsample = interpolate

# What the core has under these names; a function above goes first.
globals().update({name: op for name, op in _core.functional.items() if name not in globals()})


# Without annotation: mypy would look at it before it knows the annotation's type.
def __getattr__(name: str):  # type: ignore[no-untyped-def]
    raise AttributeError(f"module 'flambeau.nn.functional' has no attribute '{name}'")
