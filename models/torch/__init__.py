"""PyTorch's networks: their files, and their weights under our names."""
