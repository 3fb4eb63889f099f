"""Fine-tuning a pretrained model on GLUE-style tasks and SQuAD, several times, from local files."""
