package model

import "slices"

// passes is how often smaller jobs may be admitted before one that does not fit.
const passes = 16

// queue holds jobs in the order in which they are to be admitted: those of a client one after another, clients in turn.
type queue struct {
	clients []string // that have waiting jobs, in the order of their turns
	waiting map[string][]*Ticket
	n       int
}

func (q *queue) len() int { return q.n }

func (q *queue) push(t *Ticket) {
	if q.waiting == nil {
		q.waiting = map[string][]*Ticket{}
	}
	client := t.job.Client
	if len(q.waiting[client]) == 0 {
		q.clients = append(q.clients, client)
	}
	q.waiting[client] = append(q.waiting[client], t)
	q.n++
}

// next takes the first job in order that may be admitted, if any. A job that may not is passed by others, but only so
// often.
func (q *queue) next(may func(t *Ticket) bool) *Ticket {
	for i, client := range q.clients {
		t := q.waiting[client][0]
		if may(t) {
			for _, earlier := range q.clients[:i] {
				q.waiting[earlier][0].passed++
			}
			q.remove(client, t)
			q.clients = slices.Delete(q.clients, i, i+1)
			if len(q.waiting[client]) > 0 {
				q.clients = append(q.clients, client) // its next turn comes after the others'
			}
			return t
		}
		if t.passed >= passes {
			return nil
		}
	}
	return nil
}

func (q *queue) remove(client string, t *Ticket) {
	rest := slices.DeleteFunc(q.waiting[client], func(other *Ticket) bool { return other == t })
	if q.waiting[client] = rest; len(rest) == 0 {
		delete(q.waiting, client)
	}
	q.n--
}

// reap takes out the jobs that were cancelled.
func (q *queue) reap() (gone []*Ticket) {
	for _, client := range q.clients {
		for _, t := range q.waiting[client] {
			if t.cancelled {
				gone = append(gone, t)
			}
		}
	}
	for _, t := range gone {
		q.remove(t.job.Client, t)
	}
	q.clients = slices.DeleteFunc(q.clients, func(client string) bool { return len(q.waiting[client]) == 0 })
	return gone
}

// clear takes out all jobs.
func (q *queue) clear() (all []*Ticket) {
	all = q.order()
	*q = queue{}
	return all
}

// order lists the jobs in the order of their admission, if all of them fit.
func (q *queue) order() (all []*Ticket) {
	for round := 0; len(all) < q.n; round++ {
		for _, client := range q.clients {
			if own := q.waiting[client]; round < len(own) {
				all = append(all, own[round])
			}
		}
	}
	return all
}
