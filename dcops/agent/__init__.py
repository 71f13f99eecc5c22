"""The streaming Claude agent that dcops deploys."""
