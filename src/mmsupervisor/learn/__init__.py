"""Learning a policy: what an image's drivers access in a run, and the least that lets them.

======================  ================================================================================================
module                  what
======================  ================================================================================================
``observation``         ``Recorder``: the policy's witness of a run; ``Observation``: an access, who made it and when
``call_site``           ``CallSites``: whose access it is: the function that called a library's stub
``run``                 ``observe(...)``: boots under an open policy with every relaxation; an ``ObservedRun``
``script``              ``read_script(path)``: a Python file that exercises the booted platform
``rules``               ``learn(observations, vendor, level)``: a ``Lesson``: rules, their policy, what it must refuse
``denials``             ``would_be_denied(observations, policy)``: what a policy would have denied, with the rule
``document``            the report as a JSON document
======================  ================================================================================================
"""
