"""Q-learning with a recurrent network: a T-shaped corridor, whose turn is told at its start only.

The agent keeps and restores the state of the network around its updates, learns on a double that is copied from time
to time, and gets its rewards and observations as NumPy's float64.
"""
import collections
import copy

import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L

LENGTH = 4
Step = collections.namedtuple('Step', 'observation action reward')


class QFunction(chainer.Chain):

    def __init__(self, n_units):
        super(QFunction, self).__init__()
        with self.init_scope():
            self.hidden = L.Linear(3, n_units)
            self.lstm = L.LSTM(n_units, n_units)
            self.q = L.Linear(n_units, 2)

    def forward(self, x):
        return self.q(self.lstm(F.relu(self.hidden(x))))

    def get_state(self):
        return self.lstm.c, self.lstm.h

    def set_state(self, state):
        self.lstm.reset_state() if state[0] is None else self.lstm.set_state(*state)


class Agent:

    def __init__(self, random):
        self.random = random
        self.model = QFunction(16)
        self.target_model = copy.deepcopy(self.model)
        self.optimizer = chainer.optimizers.Adam(alpha=0.01).setup(self.model)
        self.episodes = collections.deque(maxlen=30)
        self.total = np.float64(0)

    def act(self, observation, epsilon):
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            q = self.model(observation.astype(np.float32)[np.newaxis]).array[0]
        return int(self.random.randint(2) if self.random.rand() < epsilon else q.argmax())

    def update(self):
        state = self.model.get_state()
        self.model.lstm.reset_state()
        self.target_model.lstm.reset_state()
        chosen = [self.episodes[i] for i in self.random.randint(len(self.episodes), size=8)]
        loss = 0
        previous = None
        for steps in zip(*chosen):
            x = np.array([step.observation for step in steps]).astype(np.float32)
            q = self.model(x)
            with chainer.no_backprop_mode():
                following = self.target_model(x).array
            if previous is not None:
                chosen_q, rewards = previous
                best = following[np.arange(8), q.array.argmax(axis=1)]
                loss += F.sum(F.huber_loss(chosen_q, (rewards + 0.9 * best).astype(np.float32), delta=1.0, reduce='no'))
            previous = (F.select_item(q, np.array([step.action for step in steps], 'i')),
                        np.array([step.reward for step in steps]))
        loss += F.sum(F.huber_loss(previous[0], previous[1].astype(np.float32), delta=1.0, reduce='no'))
        self.model.cleargrads()
        loss.backward()
        self.optimizer.update()
        self.model.set_state(state)
        return float(loss.array)


np.random.seed(0)
agent = Agent(np.random.RandomState(1))
for episode in range(60):
    agent.model.lstm.reset_state()
    turn = agent.random.randint(2)
    steps = []
    losses = []
    for place in range(LENGTH):
        observation = np.array([turn * 2. - 1 if place == 0 else 0, place == LENGTH - 1, 1])
        action = agent.act(observation, epsilon=0.3)
        reward = np.float64(action == turn) if place == LENGTH - 1 else np.float64(-0.01)
        steps.append(Step(observation, action, reward))
        if len(agent.episodes) >= 8 and place % 2 == 1:
            losses.append(agent.update())
    agent.episodes.append(steps)
    agent.total += sum(step.reward for step in steps)
    if episode % 10 == 9:
        agent.target_model.copyparams(agent.model)
        print(episode + 1, 'reward', float(agent.total), 'loss', np.mean(losses))
