//! The store, its callers and all that is under way between them.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use super::{
    books::Books,
    caller::{Answer, Caller, End, KnownPlan, Message, Outcome, Phase, Sends, Settled},
    properties,
    scenario::{Administration, Budget, CALLERS, Flaw, Knows, Scenario},
    store::{Step, Store},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) now: u8,
    pub(super) store: Store,
    pub(super) callers: [Caller; CALLERS],
    pub(super) network: BTreeSet<Message>,
    /// The truth about the plan, outside the store.
    pub(super) directory: KnownPlan,
    pub(super) administered: bool,
    pub(super) left: Budget,
    pub(super) books: Books,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Time passes; the sweep reaps what was expired before.
    Tick,
    /// Somebody reads, which reaps.
    Read,
    Load(usize),
    Reserve(usize),
    GiveUp(usize),
    Succeed(usize),
    Fail(usize),
    Renew(usize),
    SettleAgain(usize),
    Correct(usize),
    StopAborting(usize),
    Die(usize),
    LoseData,
    Administer,
    Deliver(Message, Copy, Reply),
}

/// What becomes of a message when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    Last,
    /// It will arrive again.
    Doubled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Arrives,
    Lost,
}

impl Model for Scenario {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 0,
            store: Store::new(0, self.generation),
            callers: (self.callers).map(|habits| Caller::new(habits, self.hard)),
            network: BTreeSet::new(),
            directory: KnownPlan {
                generation: 0,
                hard: self.hard,
            },
            administered: false,
            left: self.budget,
            books: Books::default(),
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now < self.time.horizon {
            actions.push(Action::Tick);
        }
        if (world.store.live.iter().flatten()).any(|live| live.expires_at <= world.now) {
            actions.push(Action::Read);
        }
        if world.left.losses > 0 {
            actions.push(Action::LoseData);
        }
        if self.administration != Administration::None && !world.administered {
            actions.push(Action::Administer);
        }
        for id in 0..CALLERS {
            self.caller_actions(world, id, actions);
        }
        for &message in &world.network {
            self.deliveries(world, message, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.act(self, action);
        next.network.retain(|message| match *message {
            Message::Answer(id, _) => next.callers[id].phase.listens(self),
            _ => true,
        });
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}

impl Scenario {
    fn caller_actions(&self, world: &World, id: usize, actions: &mut Vec<Action>) {
        let caller = &world.callers[id];
        let may_send = caller.sends < self.callers[id].reserve_sends;
        match caller.phase {
            Phase::Idle if !may_send => return,
            Phase::Idle if self.callers[id].knows == Knows::Fresh => {
                actions.push(Action::Load(id));
                if caller.plan.is_some() {
                    actions.push(Action::Reserve(id));
                }
                return;
            }
            Phase::Idle => {
                actions.push(Action::Reserve(id));
                return;
            }
            Phase::Waiting => {
                actions.push(Action::GiveUp(id));
                if may_send {
                    actions.push(Action::Reserve(id));
                }
            }
            Phase::Holding => actions.extend([Action::Succeed(id), Action::Fail(id)]),
            Phase::Committing | Phase::Releasing => actions.push(Action::SettleAgain(id)),
            Phase::Aborting => {
                actions.push(Action::SettleAgain(id));
                if world.now > caller.not_after(self.time) + self.time.ttl {
                    actions.push(Action::StopAborting(id));
                }
            }
            Phase::Finished(End::Charged) if self.callers[id].gives_back > 0 => {
                actions.push(Action::Correct(id));
                return;
            }
            Phase::Finished(_) | Phase::Dead(_) => return,
        }
        if caller.renewals_left > 0 && matches!(caller.phase, Phase::Holding | Phase::Committing) {
            actions.push(Action::Renew(id));
        }
        if world.left.crashes > 0 {
            actions.push(Action::Die(id));
        }
    }

    fn deliveries(&self, world: &World, message: Message, actions: &mut Vec<Action>) {
        let arrives = |copy, reply| Action::Deliver(message, copy, reply);
        actions.push(arrives(Copy::Last, Reply::Arrives));
        // A reserve that says `Sends::Once` is not doubled by anyone below the caller.
        let doubles = match message {
            Message::Answer(..) => false,
            Message::Reserve(_, Sends::Once) => self.flaw == Some(Flaw::ReserveSentOnceIsDoubled),
            _ => true,
        };
        if doubles && world.left.doubles > 0 {
            actions.push(arrives(Copy::Doubled, Reply::Arrives));
        }
        if message.is_answered_at_once() {
            actions.push(arrives(Copy::Last, Reply::Lost));
        }
    }
}

impl Message {
    /// Its reply is not a message of its own: it arrives at once or never.
    const fn is_answered_at_once(self) -> bool {
        matches!(
            self,
            Self::Commit(_)
                | Self::Release(_)
                | Self::Abort(_)
                | Self::Correct(_)
                | Self::Renew(..)
        )
    }
}

impl Phase {
    fn listens(self, scenario: &Scenario) -> bool {
        let believes_late = scenario.flaw == Some(Flaw::LateAnswerIsBelieved);
        self == Self::Waiting || (believes_late && self == Self::Aborting)
    }
}

impl World {
    fn act(&mut self, scenario: &Scenario, action: Action) {
        match action {
            Action::Tick => self.tick(scenario),
            Action::Read => self.step(scenario).reap(CALLERS),
            Action::Load(id) => self.callers[id].plan = Some(self.directory),
            Action::Reserve(id) => self.send_reserve(id),
            Action::GiveUp(id) | Action::Fail(id) | Action::Succeed(id) => {
                self.callers[id].phase = match action {
                    Action::GiveUp(_) => Phase::Aborting,
                    Action::Fail(_) => Phase::Releasing,
                    _ => Phase::Committing,
                };
                self.send_settle(id);
            }
            Action::Renew(id) => {
                self.callers[id].renewals_left -= 1;
                self.network.insert(Message::Renew(id, self.now));
            }
            Action::SettleAgain(id) => self.send_settle(id),
            Action::Correct(id) => drop(self.network.replace(Message::Correct(id))),
            Action::StopAborting(id) => self.callers[id].phase = Phase::Finished(End::GaveUp),
            Action::Die(id) => self.die(id),
            Action::LoseData => {
                self.left.losses -= 1;
                self.store = Store::new(self.store.epoch + 1, None);
                self.books.begin_anew();
            }
            Action::Administer => self.administer(scenario),
            Action::Deliver(message, copy, reply) => {
                match copy {
                    Copy::Last => drop(self.network.take(&message)),
                    Copy::Doubled => self.left.doubles -= 1,
                }
                self.deliver(scenario, message, reply);
            }
        }
    }

    fn step<'a>(&'a mut self, scenario: &'a Scenario) -> Step<'a> {
        Step {
            scenario,
            now: self.now,
            newest: self.directory.generation,
            store: &mut self.store,
            books: &mut self.books,
        }
    }

    fn tick(&mut self, scenario: &Scenario) {
        self.step(scenario).reap(CALLERS);
        self.now += 1;
        for marker in &mut self.store.markers {
            marker.take_if(|marker| marker.until <= self.now);
        }
        for until in &mut self.store.corrected_until {
            until.take_if(|until| *until <= self.now);
        }
    }

    fn send_reserve(&mut self, id: usize) {
        let caller = &mut self.callers[id];
        if caller.phase == Phase::Idle {
            caller.phase = Phase::Waiting;
            caller.sent_at = self.now;
        }
        caller.sends += 1;
        self.network.insert(Message::Reserve(id, caller.how_sent()));
    }

    /// Sends whatever ends this caller's reservation, for the first time or again.
    fn send_settle(&mut self, id: usize) {
        let message = match self.callers[id].phase {
            Phase::Committing => Message::Commit(id),
            Phase::Releasing => Message::Release(id),
            _ => Message::Abort(id),
        };
        self.network.insert(message);
    }

    fn die(&mut self, id: usize) {
        self.left.crashes -= 1;
        self.callers[id].phase = Phase::Dead(match self.callers[id].phase {
            Phase::Committing => Outcome::Succeeded,
            _ => Outcome::Other,
        });
    }

    fn administer(&mut self, scenario: &Scenario) {
        self.administered = true;
        match scenario.administration {
            Administration::None => {}
            Administration::Reset => drop(self.network.replace(Message::Reset)),
            Administration::Lower(hard) => {
                let generation = self.directory.generation + 1;
                self.directory = KnownPlan { generation, hard };
                self.network.insert(Message::Advance(generation));
            }
        }
    }

    fn deliver(&mut self, scenario: &Scenario, message: Message, reply: Reply) {
        match message {
            Message::Reserve(id, _) => {
                let caller = self.callers[id].clone();
                let answer = self.step(scenario).reserve(id, &caller);
                self.network.insert(Message::Answer(id, answer));
            }
            Message::Answer(id, answer) => self.hear(scenario, id, answer),
            Message::Commit(id) => {
                let caller = self.callers[id].clone();
                let end = match self.step(scenario).commit(id, &caller) {
                    Settled::TooOld => End::TooOld,
                    Settled::Done | Settled::Late | Settled::Already => End::Charged,
                };
                self.finish(id, Phase::Committing, end, reply);
            }
            Message::Release(id) => {
                let caller = self.callers[id].clone();
                self.step(scenario).release(id, &caller);
                self.finish(id, Phase::Releasing, End::Released, reply);
            }
            Message::Abort(id) => {
                let caller = self.callers[id].clone();
                self.step(scenario).abort(id, &caller);
                self.finish(id, Phase::Aborting, End::Aborted, reply);
            }
            Message::Correct(id) => {
                let caller = self.callers[id].clone();
                let end = match self.step(scenario).correct(id, &caller) {
                    Settled::TooOld => End::Charged,
                    Settled::Done | Settled::Late | Settled::Already => End::Corrected,
                };
                self.finish(id, Phase::Finished(End::Charged), end, reply);
            }
            Message::Renew(id, sent_at) => {
                let held = self.step(scenario).renew(id);
                if held && reply == Reply::Arrives {
                    self.promise(scenario, id, sent_at);
                }
            }
            Message::Reset => self.step(scenario).reset(),
            Message::Advance(generation) => self.step(scenario).advance(generation),
        }
    }

    fn hear(&mut self, scenario: &Scenario, id: usize, answer: Answer) {
        let caller = &mut self.callers[id];
        match answer {
            Answer::Allowed(confirmed) => {
                caller.phase = Phase::Holding;
                caller.confirmed = Some(confirmed);
                let sent_at = caller.sent_at;
                if confirmed.epoch == self.store.epoch {
                    self.promise(scenario, id, sent_at);
                }
            }
            Answer::Refused
                if caller.sends == 1 || scenario.flaw == Some(Flaw::RefusedCopiesAreNotAborted) =>
            {
                caller.phase = Phase::Finished(End::Refused);
            }
            Answer::Refused => {
                caller.phase = Phase::Aborting;
                self.send_settle(id);
            }
        }
    }

    fn promise(&mut self, scenario: &Scenario, id: usize, sent_at: u8) {
        let until = sent_at + scenario.time.ttl;
        let promised = &mut self.books.entries[id].promised_until;
        *promised = until.max(*promised);
    }

    fn finish(&mut self, id: usize, phase: Phase, end: End, reply: Reply) {
        if reply == Reply::Arrives && self.callers[id].phase == phase {
            self.callers[id].phase = Phase::Finished(end);
        }
    }
}
