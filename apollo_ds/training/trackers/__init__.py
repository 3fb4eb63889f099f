"""What shows a run while it trains: TensorBoard, Weights & Biases, MLflow. `tracker.py` says what each of them does."""
