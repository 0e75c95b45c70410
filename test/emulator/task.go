package emulator

import (
	"sync"
	"time"
)

// A task is work that Transfer accepted. None is done; it only takes its time.
type task struct {
	id, submission             string
	kind                       string // "TRANSFER" or "DELETE"
	label, source, destination string // destination is "" for a delete
	items                      int
	requested                  time.Time
	completed                  time.Time // zero while active
	status                     string
	polls                      int // that still answer ACTIVE
}

const (
	active    = "ACTIVE"
	succeeded = "SUCCEEDED"
	failed    = "FAILED"
)

// tasks are all tasks ever submitted, and the ids handed out to submit them with.
type tasks struct {
	mu          sync.Mutex        // guards the fields below
	submissions map[string]string // submission id to task id, which is "" until the submission
	byID        map[string]*task
	order       []*task // oldest first
}

func (t *tasks) newSubmission() string {
	id := randomUUID()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.submissions == nil {
		t.submissions = make(map[string]string)
	}
	t.submissions[id] = ""
	return id
}

// submit starts tk, unless its submission id was used before: then it returns
// the id of the task it was used for. It reports false if the submission id was
// never handed out.
func (t *tasks) submit(tk task) (id string, duplicate, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok = t.submissions[tk.submission]
	if !ok || id != "" {
		return id, ok, ok
	}
	tk.id, tk.status, tk.requested = randomUUID(), active, time.Now()
	if t.byID == nil {
		t.byID = make(map[string]*task)
	}
	t.submissions[tk.submission] = tk.id
	t.byID[tk.id] = &tk
	t.order = append(t.order, &tk)
	return tk.id, false, true
}

// poll looks at a task, which brings it nearer to its end.
func (t *tasks) poll(id string) (task, bool) {
	return t.change(id, func(tk *task) {
		if tk.polls > 0 {
			tk.polls--
		} else {
			tk.status, tk.completed = succeeded, time.Now()
		}
	})
}

// cancel ends a task and reports whether there was one and it was still active.
func (t *tasks) cancel(id string) (canceled, ok bool) {
	_, ok = t.change(id, func(tk *task) {
		canceled = true
		tk.status, tk.completed = failed, time.Now()
	})
	return canceled, ok
}

func (t *tasks) get(id string) (task, bool) { return t.change(id, func(*task) {}) }

// change applies fn to a task if it is active, and returns it as it then is.
func (t *tasks) change(id string, fn func(*task)) (task, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tk, ok := t.byID[id]
	if !ok {
		return task{}, false
	}
	if tk.status == active {
		fn(tk)
	}
	return *tk, true
}

// page returns part of the tasks, newest first, and how many there are in all.
func (t *tasks) page(offset, limit int) (list []task, total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	total = len(t.order)
	for i := total - 1 - min(offset, total); i >= 0 && len(list) < limit; i-- {
		list = append(list, *t.order[i])
	}
	return list, total
}
