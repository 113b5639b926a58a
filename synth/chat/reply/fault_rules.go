package reply

// rules map statuses to classes; the first that fits counts. A server that fails in the middle, or a gateway that lost
// the server, may have computed, and charges, an answer that never arrived; one that says it is too busy has not begun.
var rules = []struct {
	from, to int
	says     func(complaint) bool // nil: whatever it says
	class    Class
	paid     Paid
}{
	{429, 429, complaint.ofMoney, Quota, NotPaid},
	{429, 429, nil, RateLimit, NotPaid},
	{401, 401, nil, Auth, NotPaid},
	{403, 403, nil, Auth, NotPaid},
	{404, 404, nil, NotFound, NotPaid},
	{413, 413, nil, ContextLength, NotPaid},
	{400, 400, complaint.ofContent, FilteredPrompt, NotPaid},
	{400, 400, complaint.ofLength, ContextLength, NotPaid},
	{422, 422, complaint.ofLength, ContextLength, NotPaid},
	{408, 409, nil, Server, NotPaid},
	{400, 499, nil, BadRequest, NotPaid},
	{500, 500, nil, Server, MaybePaid},
	{502, 502, nil, Server, MaybePaid},
	{504, 504, nil, Server, MaybePaid},
	{500, 599, nil, Server, NotPaid},
}

func classify(status int, said complaint) (Class, Paid) {
	for _, r := range rules {
		if r.from <= status && status <= r.to && (r.says == nil || r.says(said)) {
			return r.class, r.paid
		}
	}
	return UnexpectedStatus, NotPaid
}
