package apply

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"checkstack/plugins"
)

// The request of "checkstack apply". It is made once: applying a document again is harmless, but whoever reads the plan wants
// to know whether it is that of the change.

const (
	answerTime = 15 * time.Minute // for the server to apply a document, after others have applied theirs
	maxAnswer  = 64 << 20         // bytes
)

// send has the server apply a document. Its error says what the server said, with the file that is meant.
func (c *command) send(ctx context.Context, s *source, version string) (plan Plan, err error) {
	body, err := json.Marshal(&s.doc)
	if err != nil {
		return plan, fmt.Errorf("encode the document: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	query := url.Values{"dryRun": {strconv.FormatBool(c.dryRun)}, "prune": {strconv.FormatBool(c.prune)}, "pruneAll": {strconv.FormatBool(c.pruneAll)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.server+"/api/apply/documents?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return plan, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "checkstack/"+cmp.Or(version, "unknown"))
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return plan, fmt.Errorf("reach the server: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return plan, fmt.Errorf("read the answer of the server: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return plan, c.refusal(s, res, answer)
	}
	if err := json.Unmarshal(answer, &plan); err != nil || plan.Name == "" {
		return plan, errors.New("the answer is not one of a Checkstack server that applies documents")
	}
	return plan, nil
}

// refusal is the error for an answer with another status than 200.
func (c *command) refusal(s *source, res *http.Response, answer []byte) error {
	var said struct{ Error, Message, Field string }
	switch location := res.Header.Get("Location"); {
	case location != "":
		return fmt.Errorf("the server redirects to %s: give its origin as -server", location)
	case json.Unmarshal(answer, &said) != nil || said.Error == "":
		return fmt.Errorf("the server answers %s", res.Status)
	}
	message := strings.ReplaceAll(cmp.Or(said.Message, said.Error), c.token, "…")
	if res.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("the server does not take the token in CHECKSTACK_TOKEN: %s", message)
	}
	if said.Field == "" {
		return fmt.Errorf("the server refuses it with %d: %s", res.StatusCode, message)
	}
	return s.explain(&plugins.Error{Message: message, Field: said.Field})
}
