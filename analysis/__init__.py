"""What the networks cost, computed from the networks themselves."""

from analysis.count import count as count
from analysis.count import xla_flops as xla_flops
