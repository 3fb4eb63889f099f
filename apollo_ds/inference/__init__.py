"""Use a trained model: let it continue text or fill in masks, or evaluate it on tasks."""
