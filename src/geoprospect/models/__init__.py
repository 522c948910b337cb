"""Networks, training, and the saved model."""
