"""Who decided when, and which models a deployment still names."""
