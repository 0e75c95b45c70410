package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// submission is what of a transfer or delete document is looked at.
type submission struct {
	DataType            string            `json:"DATA_TYPE"`
	SubmissionID        string            `json:"submission_id"`
	SourceEndpoint      string            `json:"source_endpoint"`      // of a transfer
	DestinationEndpoint string            `json:"destination_endpoint"` // of a transfer
	Endpoint            string            `json:"endpoint"`             // of a delete
	Label               string            `json:"label"`
	Data                []json.RawMessage `json:"DATA"`
}

func (e *Emulator) newSubmission(*call) answer {
	return transferAnswer(http.StatusOK, object{"DATA_TYPE": "submission_id", "value": e.tasks.newSubmission()})
}

func (e *Emulator) submitTransfer(c *call) answer {
	return e.submit(c, "transfer", func(doc submission) []string {
		return []string{doc.SourceEndpoint, doc.DestinationEndpoint}
	})
}

func (e *Emulator) submitDelete(c *call) answer {
	return e.submit(c, "delete", func(doc submission) []string { return []string{doc.Endpoint} })
}

// submit starts a task of the kind once per submission id; a repeat is told of
// the same task. This is what makes the POST safe to send again.
func (e *Emulator) submit(c *call, kind string, endpoints func(submission) []string) answer {
	var doc submission
	if err := json.Unmarshal(c.body, &doc); err != nil {
		return refuseTransfer(c, http.StatusBadRequest, "The body is no such JSON document")
	}
	if doc.DataType != kind {
		return refuseTransfer(c, http.StatusBadRequest, fmt.Sprintf("DATA_TYPE must be %q, not %q", kind, doc.DataType))
	}
	if len(doc.Data) == 0 {
		return transferError(c, http.StatusBadRequest, "ClientError.BadRequest.NoTransferItems", "DATA has no items")
	}
	ids := endpoints(doc)
	for _, id := range ids {
		if _, ok := e.collection(id); !ok {
			return endpointNotFound(c, id)
		}
	}
	if refusal := e.consentRequired(c, ids...); refusal != nil {
		return *refusal
	}
	tk := task{
		submission: doc.SubmissionID, kind: strings.ToUpper(kind), label: doc.Label,
		source: ids[0], items: len(doc.Data), polls: e.taskPolls,
	}
	if len(ids) > 1 {
		tk.destination = ids[1]
	}
	id, duplicate, ok := e.tasks.submit(tk)
	if !ok {
		return refuseTransfer(c, http.StatusBadRequest, "submission_id was not handed out by GET /submission_id")
	}
	status, code, message := http.StatusAccepted, "Accepted", "The "+kind+" has been accepted and a task made for it"
	if duplicate {
		status, code, message = http.StatusOK, "Duplicate", "This submission_id was used before; here is its task"
	}
	return transferAnswer(status, object{
		"DATA_TYPE": kind + "_result", "code": code, "message": message, "request_id": randomText(9),
		"resource": c.URL.Path, "submission_id": doc.SubmissionID, "task_id": id,
		"task_link": object{
			"DATA_TYPE": "link", "href": transferPrefix + "/task/" + id + "?format=json",
			"rel": "related", "resource": "task", "title": "related task",
		},
	})
}

func noSuchTask(c *call) answer { return refuseTransfer(c, http.StatusNotFound, "No such task") }

// showTask is what clients poll.
func (e *Emulator) showTask(c *call) answer {
	tk, ok := e.tasks.poll(c.vars[0])
	if !ok {
		return noSuchTask(c)
	}
	return transferAnswer(http.StatusOK, e.taskDocument(tk))
}

func (e *Emulator) taskDocument(tk task) object {
	doc := object{
		"DATA_TYPE": "task", "task_id": tk.id, "type": tk.kind, "status": tk.status, "label": tk.label,
		"owner_id": e.clientID, "source_endpoint_id": tk.source, "destination_endpoint_id": nil,
		"request_time": timestamp(tk.requested), "completion_time": nil,
		"files": tk.items, "subtasks_total": tk.items, "is_paused": false, "nice_status": nil, "fatal_error": nil,
	}
	if tk.destination != "" {
		doc["destination_endpoint_id"] = tk.destination
	}
	if tk.status == active {
		doc["nice_status"] = "OK"
	} else {
		doc["completion_time"] = timestamp(tk.completed)
	}
	if tk.status == failed {
		doc["fatal_error"] = object{"code": "CANCELED", "description": "Canceled by the task owner"}
	}
	return doc
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05+00:00") }

func (e *Emulator) cancelTask(c *call) answer {
	canceled, ok := e.tasks.cancel(c.vars[0])
	if !ok {
		return noSuchTask(c)
	}
	code, message := "Canceled", "The task has been canceled"
	if !canceled {
		code, message = "TaskComplete", "The task was over before it could be canceled"
	}
	return transferAnswer(http.StatusOK, object{
		"DATA_TYPE": "result", "code": code, "message": message, "request_id": randomText(9), "resource": c.URL.Path,
	})
}

func (e *Emulator) listTasks(c *call) answer {
	offset, limit, err := c.page(10, 1000)
	if err != nil {
		return refuseTransfer(c, http.StatusBadRequest, err.Error())
	}
	list, total := e.tasks.page(offset, limit)
	docs := make([]object, len(list))
	for i, tk := range list {
		docs[i] = e.taskDocument(tk)
	}
	return transferAnswer(http.StatusOK, object{
		"DATA_TYPE": "task_list", "offset": offset, "limit": limit, "total": total, "DATA": docs,
	})
}

// listEvents tells the short story of a task, newest first.
func (e *Emulator) listEvents(c *call) answer {
	tk, ok := e.tasks.get(c.vars[0])
	if !ok {
		return noSuchTask(c)
	}
	offset, limit, err := c.page(10, 1000)
	if err != nil {
		return refuseTransfer(c, http.StatusBadRequest, err.Error())
	}
	event := func(at time.Time, code string) object {
		return object{
			"DATA_TYPE": "event", "time": timestamp(at), "code": code, "is_error": code == "CANCELED",
			"description": strings.ToLower(code), "details": "", "parent_task_id": nil,
		}
	}
	events := []object{event(tk.requested, "STARTED")}
	switch tk.status {
	case succeeded:
		events = append([]object{event(tk.completed, "SUCCEEDED")}, events...)
	case failed:
		events = append([]object{event(tk.completed, "CANCELED")}, events...)
	}
	return transferAnswer(http.StatusOK, object{
		"DATA_TYPE": "event_list", "offset": offset, "limit": limit, "total": len(events),
		"DATA": window(events, offset, limit),
	})
}
