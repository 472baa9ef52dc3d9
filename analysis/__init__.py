"""What the networks cost, computed from the networks themselves."""

from analysis.count import count as count
