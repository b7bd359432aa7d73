"""A small world around ecs-watch in which a seed decides everything that can happen.

The functions of `notifier.handler` run unchanged, wired by `notifier.wiring`; only the clients at
the outer edge are replaced. Every effect of theirs is a moment at which another function may go on,
time may pass, an answer may be lost or the function may be killed. One seed is one history:

    python -m tests.simulator --scenario storm --seed 17 --trace

| module        | what it is                                                                     |
|---------------|--------------------------------------------------------------------------------|
| `scheduler`   | the clock, and functions that take turns at every effect                       |
| `faults`      | how often what goes wrong                                                      |
| `expressions` | DynamoDB's condition, key and update expressions                               |
| `dynamodb`    | the table, and a client of it that throttles, conflicts and loses answers      |
| `queue`       | SQS and Lambda's poller                                                        |
| `slack`       | a workspace: what was posted when, and every way to fail                       |
| `bus`         | EventBridge's rules, by the patterns of the template                           |
| `ecs`         | services as ECS keeps them, the events it sends, what DescribeServices shows   |
| `scripts`     | stories of deployments that go wrong, and of days on which nothing does        |
| `audit`       | watches who writes what while a history runs                                   |
| `history`     | one world, run until it is at rest                                             |
| `checker`     | what must hold in every history                                                |
| `scenarios`   | which stories under which faults                                               |
| `crashes`     | a history once more for each of its effects, with a crash there                |
| `mutants`     | the program with one rule switched off, which the checker must see             |
| `figures`     | what `make scoreboard` counts, over a range of seeds                           |
"""
