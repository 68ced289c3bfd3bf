"""What works on files: data sets, training, evaluation and rescoring."""
