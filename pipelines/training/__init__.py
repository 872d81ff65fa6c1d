"""A script run as a job, and the model it logged: recorded, chosen, exported, compared."""
