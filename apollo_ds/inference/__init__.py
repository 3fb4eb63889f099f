"""Asking a trained model: it continues text, fills in masks, or is evaluated by tasks."""
