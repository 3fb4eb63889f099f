"""Fine-tune a pretrained model on GLUE-style tasks and SQuAD from local files, several times with different seeds."""
