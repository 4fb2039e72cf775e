"""Learning from what became of signals: realised outcomes change the policy's weights.

``records`` reads what was seen, done and earned; ``finetune`` moves a policy towards what paid;
``rollouts`` makes such records in the simulator; ``network`` is the trainable part of a policy.
"""
