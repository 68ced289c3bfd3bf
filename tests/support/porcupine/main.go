// Judges histories of decisions: `porcupine < history.jsonl`, an operation a line.
//
// Each payment has a register. It is empty, is written once, and keeps its value; porcupine looks for an order of the
// operations that agrees with their times and with that. Each payment without one is printed, with what is wrong.
// Exit codes: 0 there is an order for each payment, 1 there is none for some, 2 the history cannot be read.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/anishathalye/porcupine"
)

const (
	write   = "write"
	read    = "read"
	nothing = ""
)

// operation is a line of a history; `call` and `end` are of one clock, and a read of "" found no decision.
type operation struct {
	Client  string `json:"client"`
	Payment string `json:"payment"`
	Kind    string `json:"kind"`
	Value   string `json:"value"`
	Call    int64  `json:"call"`
	End     int64  `json:"end"`
}

// writtenOnce is a register that takes one write, and returns it from then on.
var writtenOnce = porcupine.Model{
	Init: func() interface{} { return nothing },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		if input == write {
			return state == nothing, output
		}
		return state == output, state
	},
}

func main() {
	histories, count, err := parse(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	payments := make([]string, 0, len(histories))
	for payment := range histories {
		payments = append(payments, payment)
	}
	slices.Sort(payments)
	wrong := 0
	for _, payment := range payments {
		if !hasOrder(histories[payment]) {
			wrong++
			fmt.Printf("%s: %s\n", payment, anomaly(histories[payment]))
		}
	}
	fmt.Fprintf(os.Stderr, "%d operations on %d payments, %d without an order\n", count, len(payments), wrong)
	if wrong > 0 {
		os.Exit(1)
	}
}

// parse reads the operations of each payment.
func parse(from io.Reader) (map[string][]operation, int, error) {
	histories, count := map[string][]operation{}, 0
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		var one operation
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", count+1, err)
		}
		count++
		switch {
		case one.Kind != write && one.Kind != read:
			return nil, 0, fmt.Errorf("line %d: %q is no kind of operation", count, one.Kind)
		case one.Kind == write && one.Value == nothing:
			return nil, 0, fmt.Errorf("line %d: nothing is written", count)
		}
		histories[one.Payment] = append(histories[one.Payment], one)
	}
	return histories, count, lines.Err()
}

func hasOrder(operations []operation) bool {
	history := make([]porcupine.Operation, 0, len(operations))
	for _, one := range operations {
		if one.End < one.Call {
			return false
		}
		history = append(history, porcupine.Operation{Input: one.Kind, Output: one.Value, Call: one.Call, Return: one.End})
	}
	return porcupine.CheckOperations(writtenOnce, history)
}

// anomaly says in words why operations have no order.
func anomaly(operations []operation) string {
	var written []operation
	for _, one := range operations {
		if one.Kind == write {
			written = append(written, one)
		}
	}
	switch {
	case len(written) > 1:
		return fmt.Sprintf("two decisions: %q and %q", written[0].Value, written[1].Value)
	case len(written) == 0:
		return "a decision was read that nothing wrote"
	}
	if written[0].End < written[0].Call {
		return fmt.Sprintf("the decision was read before the payment was published: %q", written[0].Value)
	}
	for _, one := range operations {
		if one.Kind == read && one.Value != nothing && one.Value != written[0].Value {
			return fmt.Sprintf("the decision changed: %q, then %s read %q", written[0].Value, one.Client, one.Value)
		}
	}
	for _, one := range operations {
		if one.Kind == read && one.Value == nothing && one.Call > written[0].End {
			return fmt.Sprintf("the decision was lost: %q, then %s read none", written[0].Value, one.Client)
		}
	}
	return "the operations have no order"
}
