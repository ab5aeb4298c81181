"""Turn a worker's answer or death into the outcome of its call.

credibility  checks that the messages of a worker are credible
ending       builds the ending of a call from an answer or a death
metrics      the metrics of a call, reported by the worker and corrected by measurements from outside
outcome      turns an ending into the `Outcome` that the caller gets
"""
