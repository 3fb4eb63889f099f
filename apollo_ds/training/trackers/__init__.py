"""Trackers show a run while it trains: TensorBoard, Weights & Biases, MLflow. `tracker.py` is their interface."""
