package sdk

import "context"

// Life hears of the progress of a call. The wire adapter is one: a call that makes none for too long is lost, see [Transform].
type Life interface {
	Moved()            // it made progress
	Asleep(asleep int) // +1: it sleeps by its clock; -1: no longer
}

type lifeKey struct{}

// WithLife makes a context by which code that is given no more than that shows life. The wire adapter does it for each call.
func WithLife(ctx context.Context, l Life) context.Context {
	return context.WithValue(ctx, lifeKey{}, l)
}

// Alive shows that the call of ctx makes progress, for work that neither answers nor moves bytes for minutes: a long computation, a
// service that is asked again and again until it is done. Call it when something has been achieved, never from a ticker: a call that
// hangs would then hang for ever.
func Alive(ctx context.Context) {
	if l, ok := ctx.Value(lifeKey{}).(Life); ok {
		l.Moved()
	}
}

// asleep tells that the call of ctx sleeps, until done is called.
func asleep(ctx context.Context) (done func()) {
	l, ok := ctx.Value(lifeKey{}).(Life)
	if !ok {
		return func() {}
	}
	l.Asleep(1)
	return func() { l.Asleep(-1) }
}
