"""How models are tracked, built, retrained and served."""
