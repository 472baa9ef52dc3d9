"""Neural architecture search: spaces, methods that search them, and the training of what they propose."""
