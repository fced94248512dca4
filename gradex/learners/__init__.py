"""How the parameters of a stack of policies move, and what the policies then do."""

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.adaptation import Adaptation
from gradex.learners.advantages import discounted_advantages
from gradex.learners.evaluation import Episodes, evaluate, run_episodes
from gradex.learners.layout import Layout
from gradex.learners.learner import Learner
from gradex.learners.maml import MAML
from gradex.learners.ppo import PPO
from gradex.learners.rollouts import Collector, Rollout
from gradex.learners.sac import SAC
from gradex.learners.subsets import early_rounds, even_rounds, train_each
from gradex.learners.transitions import Transitions, can_share, collect_transitions

__all__ = [
    "MAML",
    "PPO",
    "SAC",
    "ActorCritic",
    "Adaptation",
    "Collector",
    "Episodes",
    "Layout",
    "Learner",
    "Rollout",
    "Transitions",
    "can_share",
    "collect_transitions",
    "discounted_advantages",
    "early_rounds",
    "evaluate",
    "even_rounds",
    "run_episodes",
    "train_each",
]
