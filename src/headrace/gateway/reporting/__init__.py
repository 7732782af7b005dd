"""What the gateway tells of itself: counts, metrics, the admin port."""
