"""Fine-tuning of the joint model on labels that people have: task files, splits, baselines, training, figures."""
