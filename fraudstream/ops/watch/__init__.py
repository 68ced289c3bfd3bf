"""What is watched while a model is live: drift, incidents and explanations."""
