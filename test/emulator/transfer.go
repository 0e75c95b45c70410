package emulator

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

const transferPrefix = "/v0.10"

// transferRoutes are Transfer's, every one of them behind its token.
func (e *Emulator) transferRoutes() []route {
	routes := []route{
		{"GET", "/endpoint_search", e.searchEndpoints},
		{"GET", "/endpoint/{}", e.showEndpoint},
		{"GET", "/operation/endpoint/{}/ls", e.listDirectory},
		{"GET", "/submission_id", e.newSubmission},
		{"POST", "/transfer", e.submitTransfer},
		{"POST", "/delete", e.submitDelete},
		{"GET", "/task_list", e.listTasks},
		{"GET", "/task/{}", e.showTask},
		{"POST", "/task/{}/cancel", e.cancelTask},
		{"GET", "/task/{}/event_list", e.listEvents},
	}
	for i := range routes {
		routes[i].pattern = transferPrefix + routes[i].pattern
		routes[i].handle = e.withTransferToken(routes[i].handle)
	}
	return routes
}

// withTransferToken lets requests through that carry a live Transfer token. No
// token is a 400 to Transfer; a bad one is a 401.
func (e *Emulator) withTransferToken(handle func(*call) answer) func(*call) answer {
	return func(c *call) answer {
		const code = "ClientError.AuthenticationFailed"
		value := c.bearer()
		if value == "" {
			return transferError(c, http.StatusBadRequest, code, "No credentials supplied")
		}
		if tok, ok := e.tokens.lookup(value); !ok || tok.resourceServer != transferServer {
			return transferError(c, http.StatusUnauthorized, code, "Token is not active")
		}
		return handle(c)
	}
}

// object is a Transfer document. Every one has a DATA_TYPE but errors.
type object map[string]any

func transferAnswer(status int, doc object) answer {
	ans := jsonAnswer(status, doc)
	ans.header.Set("X-Transfer-API-Version", "0.10")
	ans.header.Set("Access-Control-Allow-Origin", "*")
	ans.header.Set("Cache-Control", "no-cache")
	return ans
}

// transferError is Transfer's error shape; code is in a header as well, which
// old scripts read.
func transferError(c *call, status int, code, message string) answer {
	return transferErrorWith(c, status, code, message, nil)
}

// transferErrorWith is transferError with more facts, or other ones.
func transferErrorWith(c *call, status int, code, message string, more object) answer {
	doc := object{"code": code, "message": message, "request_id": randomText(9), "resource": c.URL.Path}
	maps.Copy(doc, more)
	ans := transferAnswer(status, doc)
	ans.header.Set("X-Transfer-API-Error", code)
	return ans
}

func refuseTransfer(c *call, status int, message string) answer {
	return transferError(c, status, "ClientError."+strings.ReplaceAll(http.StatusText(status), " ", ""), message)
}

// consentRequired returns Transfer's refusal to touch mapped collections before
// their data_access was granted, one scope for all that are wanting, or nil.
func (e *Emulator) consentRequired(c *call, ids ...string) *answer {
	var wanted []string
	for _, id := range ids {
		col, _ := e.collection(id)
		if scope := "*" + dataAccess(id); col.mapped() && !e.Consented(id, transferServer) && !slices.Contains(wanted, scope) {
			wanted = append(wanted, scope)
		}
	}
	if wanted == nil {
		return nil
	}
	ans := transferErrorWith(c, http.StatusForbidden, consentCode, consentMessage, consentDemand(
		strings.TrimPrefix(c.URL.Path, transferPrefix), TransferScope+"["+strings.Join(wanted, " ")+"]"))
	return &ans
}
