"""The lecture "CNN Architectures" (EECS 498, lecture 8): its tables and pictures, from the networks themselves."""
