"""The atlas: one page that draws every network, from its stages down to its layers."""
