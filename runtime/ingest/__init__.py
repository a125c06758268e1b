"""What arrives and what it becomes: recognition of products, their units and times, each choice with its reason."""
