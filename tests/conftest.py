import os

# Before anything imports tqdm: progress bars have no place in the output of tests.
os.environ["TQDM_DISABLE"] = "1"

import hypothesis
import torch

# Batches here are small; with a second thread two workers only wait for each other.
torch.set_num_threads(1)

# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
