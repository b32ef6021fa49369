"""What keeps the house: locks, the release, what the container build needs."""
