"""From a worker's answer or death to an outcome.

credibility  the checks that an answer must pass to be believed
ending       how a job ended
metrics      the cost of a call: the worker's account, corrected by the kernel's
outcome      from an ending to the `Outcome` that the caller gets
"""
