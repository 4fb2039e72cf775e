"""Learning from a person's judgement: which of two trades was better.

``trades`` says what of a trade is compared, ``pairs`` which two are shown next and what was answered,
``reward_model`` turns answers into a reward (Bradley-Terry), and ``finetune`` moves a policy by it.
``reward_env`` gives that reward to any trainer that takes a Gymnasium environment.
"""
