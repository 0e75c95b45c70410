# What a person does with globus-cli in a session. The arguments are three
# collections: two that are open, and one that wants consent.
set -eu
globus whoami
globus endpoint search --filter-scope my-endpoints
globus ls "$1:/~/"
globus transfer "$1:/~/größe.csv" "$2:/~/größe.csv" --label nightly
task=$(globus task list --limit 1 --jmespath 'DATA[0].task_id' --format unix)
echo "waiting for $task"
globus task wait "$task" --polling-interval 1 --timeout 30
globus task show "$task"
globus task list
globus api transfer GET /task_list
echo "denied:"
globus task cancel "$task" 2>&1 || echo "exit $?"
echo "consent:"
globus ls "$3:/~/" 2>&1 || echo "exit $?"
