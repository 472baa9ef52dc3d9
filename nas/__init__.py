"""Neural architecture search: cells and networks that are found instead of designed."""
