"""Screen elements by Z_AUC and random shifts of the deposits."""
